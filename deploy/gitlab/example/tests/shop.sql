select customer_country, count(*) as orders, sum(total) as total from shop.orders group by all order by all
